"""Sphinx builds the pages of this folder as a site: `make docs`."""

import mmseg_bisenet

project = 'mmseg_bisenet'
author = 'The mmseg_bisenet authors'
copyright = author
version = release = mmseg_bisenet.__version__

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
html_theme = 'furo'
html_title = f'mmseg_bisenet {version}'
exclude_patterns = ['_build']
# READMEs outside docs/ are not pages of the site, and links to them become text. tests/docs checks every link.
suppress_warnings = ['myst.xref_missing']

myst_heading_anchors = 3  # the anchors that GitHub makes
autodoc_typehints = 'description'
autodoc_typehints_format = 'short'
