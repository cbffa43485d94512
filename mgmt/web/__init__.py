"""Pages for a browser: HTML by templates, charts as inline SVG. A page is whole: style, scripts, data."""

from mgmt.web.page import Page, render

__all__ = ["Page", "render"]
