"""What clipcompiler makes of the models of transformers and timm: exact, refused and why, never wrong.

python -m benchmarks.coverage --jobs 2 && python -m benchmarks.coverage --report
"""
