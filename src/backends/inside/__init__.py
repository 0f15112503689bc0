"""What users' own code does with the SDKs of models, seen from inside: in our interpreter and in theirs.

Standard library only, Python 3.8, and no import from outside this folder: the worker of another interpreter loads it as
`_teamwright_inside`. Nothing here imports an SDK: `importing` waits until the user's code does.
"""
