"""Where an HDFS is and how to speak to it: the URL and the options of a store, checked."""

from __future__ import annotations

import getpass
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from subgrpc.artifacts import StoreSettings
from subgrpc.artifacts.failures import invalid

EXAMPLE: Final = "hdfs://NAMENODE:9870/FOLDER"
_OPTIONS: Final = ("ca", "connect_timeout", "scheme", "timeout", "user")
_HOST = re.compile(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_FOLDER = re.compile(r"(/[\w@+=.-]+)+")
_LONGEST_WAIT = 3600.0


@dataclass(frozen=True, slots=True)
class HdfsSettings:
    """What a client of WebHDFS needs.

    Attributes:
        store: the store's name, for errors.
        namenodes: the web addresses of the NameNodes, such as `http://nn1:9870`.
        folder: the store's folder, absolute, without a slash at the end.
        user: the user of HDFS that the store is.
        connect_timeout: seconds within which a connection is made; while an object is sent, how
            long the connection may take nothing.
        timeout: seconds within which an answer, or the next piece of one, comes.
        ca: a file of certificates that https is trusted by; empty: those of the package certifi.
    """

    store: str
    namenodes: tuple[str, ...]
    folder: str
    user: str
    connect_timeout: float
    timeout: float
    ca: str

    @property
    def addresses(self) -> str:
        """The NameNodes, for people."""
        return ", ".join(urlsplit(each).netloc for each in self.namenodes)


def parse(settings: StoreSettings) -> HdfsSettings:
    """Reads a store's settings; touches no network.

    Raises:
        InvalidArgument: STORE_INVALID: the URL or an option is wrong.
    """
    for option in settings.options:
        if option not in _OPTIONS:
            text = f"HDFS has no option {option!r}; there are: {', '.join(_OPTIONS)}"
            raise invalid(settings.name, text)
    options = settings.options
    hosts, folder = _place(settings)
    scheme = options.get("scheme", "http")
    if scheme not in ("http", "https"):
        raise invalid(settings.name, f"the option scheme is http or https, not {scheme!r}")
    return HdfsSettings(
        store=settings.name,
        namenodes=tuple(f"{scheme}://{host}" for host in hosts),
        folder=folder,
        user=_user(settings.name, options),
        connect_timeout=_seconds(settings, "connect_timeout", 10.0),
        timeout=_seconds(settings, "timeout", 60.0),
        ca=_ca(settings.name, scheme, options),
    )


def _place(settings: StoreSettings) -> tuple[list[str], str]:
    """The `HOST:PORT` of each NameNode, and the folder."""
    parts = urlsplit(settings.url)
    if "@" in parts.netloc:  # perhaps a password, which is not to be repeated
        raise invalid(settings.name, f"its URL is like {EXAMPLE}; the user is an option")
    like = f"{settings.url!r} is not like {EXAMPLE}"
    if parts.scheme != "hdfs" or parts.query or parts.fragment:
        raise invalid(settings.name, like)
    hosts = parts.netloc.split(",")
    for host in hosts:
        found = _HOST.fullmatch(host)
        if found is None or not 0 < int(found[2]) < 65536:
            text = f"{like}: {host!r} is not HOST:PORT of a NameNode's web address"
            raise invalid(settings.name, text)
    folder = unquote(parts.path).rstrip("/")
    if not _FOLDER.fullmatch(folder) or posixpath.normpath(folder) != folder:
        text = f"{like}: the folder is an absolute path of letters, digits and any of _@+=.-"
        raise invalid(settings.name, text)
    return hosts, folder


def _user(store: str, options: Mapping[str, str]) -> str:
    user = options["user"] if "user" in options else getpass.getuser()
    if not re.fullmatch(r"[A-Za-z_][\w.@/-]*\$?", user, re.ASCII):
        raise invalid(store, f"{user!r} is no user of HDFS; set the option user")
    return user


def _seconds(settings: StoreSettings, option: str, default: float) -> float:
    text = settings.options.get(option)
    if text is None:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _LONGEST_WAIT:
        wanted = f"the option {option} is a number of seconds up to {_LONGEST_WAIT:g}"
        raise invalid(settings.name, f"{wanted}, not {text!r}")
    return seconds


def _ca(store: str, scheme: str, options: Mapping[str, str]) -> str:
    ca = options.get("ca", "")
    if ca and scheme != "https":
        raise invalid(store, "the option ca belongs to the option scheme=https")
    if ca and not Path(ca).is_file():
        raise invalid(store, f"the option ca names {ca!r}, which is no file")
    return ca
