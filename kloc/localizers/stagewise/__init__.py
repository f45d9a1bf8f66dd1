"""The stage-wise localizer of "What Do I Annotate Next?" (P2): proposals, attention, classification."""

from kloc.localizers.stagewise.attention import Attention, train_attention
from kloc.localizers.stagewise.encoder import EncodedVideo, encode_training
from kloc.localizers.stagewise.localizer import StageWise
from kloc.localizers.stagewise.settings import StageWiseSettings

__all__ = ["Attention", "EncodedVideo", "StageWise", "StageWiseSettings", "encode_training", "train_attention"]
