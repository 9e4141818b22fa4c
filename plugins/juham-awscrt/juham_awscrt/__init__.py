"""The awscrt backend of Juham."""

from juham_awscrt.backend import JAwsCrt

__all__ = ["JAwsCrt"]
