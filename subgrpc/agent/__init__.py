"""The agent: a small program beside the user's command, on every backend.

Standard library only, Python 3.8 and later, relative imports only: it runs from the installed
package as well as from wherever a driver carries it.
"""
