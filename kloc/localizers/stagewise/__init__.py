"""The stage-wise localizer of "What Do I Annotate Next?" (P2): proposals, attention, classification."""

from kloc.localizers.stagewise.attention import Attention, train_attention
from kloc.localizers.stagewise.encoder import encode_training
from kloc.localizers.stagewise.localizer import StageWise
from kloc.localizers.stagewise.settings import StageWiseSettings
from kloc.localizers.stagewise.table import EncodedTable

__all__ = ["Attention", "EncodedTable", "StageWise", "StageWiseSettings", "encode_training", "train_attention"]
