"""Configurations: of one plugin, as a runtime hands it over, and of a network, as it is on disk."""

from cnidaria.cni.conflist import ConfList, parse_conflist, plugin_config
from cnidaria.cni.netconf import (
    WELL_KNOWN,
    NetConf,
    ValidAttachment,
    is_well_known,
    network_name,
    plugin_type,
)

__all__ = [
    "WELL_KNOWN",
    "ConfList",
    "NetConf",
    "ValidAttachment",
    "is_well_known",
    "network_name",
    "parse_conflist",
    "plugin_config",
    "plugin_type",
]
