"""A clipped step against an ordinary one, for many models, by clipcompiler and by others.

python -m benchmarks.peers && python -m benchmarks.peers --report
"""
