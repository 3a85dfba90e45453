"""Reads Markdown and writes HTML."""

import sys

import markdown

print(markdown.markdown(sys.stdin.read(), extensions=sys.argv[1:]))
