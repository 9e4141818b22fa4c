"""The native backend of Juham, found by its entry-point name "native"."""

from juham_native.backend import JNative as JNative
