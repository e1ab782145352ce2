# SPDX-License-Identifier: Apache-2.0
"""How HTML is made of templates, for every page that skyglow writes."""

from collections.abc import Callable, Mapping

import jinja2


def environment(package: str, filters: Mapping[str, Callable[..., str]]) -> jinja2.Environment:
    """The templates of a package: all that is put in is escaped, and a name that nobody gave is an error.

    Parameters
    ----------
    package : str
        Its folder ``templates`` holds them.
    filters : mapping of str to callable
        Further words of the templates.
    """
    made = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(filters)
    return made
