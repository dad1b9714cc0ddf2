"""The site: `make docs` writes it to build/docs. Nothing in it is fetched when it is read."""

from polyprompt import __version__

project, author, release = "polyprompt", "the polyprompt authors", __version__
copyright = "2026, the polyprompt authors; Apache-2.0"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "polyprompt"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
add_module_names = False
default_role = "code"
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
