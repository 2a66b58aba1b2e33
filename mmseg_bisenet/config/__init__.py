"""Checks of a config before anything is built of it.

:mod:`~.check` reads a config, merges options and checks it: with the tables of :mod:`~.fields` (values, types and
arguments), the contradictions of :mod:`~.rules`, and what steps of :mod:`~.pipelines` do to images and labels.
:mod:`~.errors` names the field of an error that comes later, while something is built or runs.
"""
