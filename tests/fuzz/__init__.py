"""Random models as text: exact or refused."""
