"""Files of weights: safe reading, named converters, and our own format with manifest."""

from lightvit_bench.checkpoint.convert import convert_file, encoder_of
from lightvit_bench.checkpoint.converters import (
    CONVERTERS,
    Conversion,
    Converter,
    convert,
    get_converter,
    matching_converters,
)
from lightvit_bench.checkpoint.encoder import (
    load_encoder,
    load_into,
    read_extra,
    read_manifest,
    save_encoder,
)
from lightvit_bench.checkpoint.files import (
    read_checkpoint,
    read_safetensors,
    read_torch,
    sha256,
)
from lightvit_bench.checkpoint.fingerprint import Fingerprint, TensorSummary, compare, fingerprint
from lightvit_bench.checkpoint.hints import default_hint
from lightvit_bench.checkpoint.manifest import Manifest, Parent
from lightvit_bench.checkpoint.report import LoadReport
from lightvit_bench.checkpoint.state_dicts import (
    HeadCountWarning,
    merge_qkv_bias,
    split_qkv_bias,
)

__all__ = [
    "CONVERTERS",
    "Conversion",
    "Converter",
    "Fingerprint",
    "HeadCountWarning",
    "LoadReport",
    "Manifest",
    "Parent",
    "TensorSummary",
    "compare",
    "convert",
    "convert_file",
    "default_hint",
    "encoder_of",
    "fingerprint",
    "get_converter",
    "load_encoder",
    "load_into",
    "matching_converters",
    "merge_qkv_bias",
    "read_checkpoint",
    "read_extra",
    "read_manifest",
    "read_safetensors",
    "read_torch",
    "save_encoder",
    "sha256",
    "split_qkv_bias",
]
