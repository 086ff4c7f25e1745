"""An image half whose CNNs are trained from the block on that they were cut at (vse/features/cut.py).

Below the cut nothing changes, so its maps are features on disk. Shapes: b batch, n numbers of a photo's flat maps,
d embed_dim, c h h a map.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from vse.configs import ImageConfig
from vse.encoders.image import ImageEncoder
from vse.features.cut import MARK, Above, make_above
from vse.features.networks import load_cnn
from vse.system.errors import InputError

_CHANNELS = 1280  # of the last map of every EfficientNet-Lite


class TunedEncoder(nn.Module):
    """x = E(the last maps of the CNNs, pooled to regions and side by side), E the encoder of frozen features."""

    def __init__(self, config: ImageConfig, info: dict, embed_dim: int):
        """`info`: of features of cut CNNs. Raises InputError for those of others."""
        super().__init__()
        self._sources = info.get("sources", [info])
        names = [str(source.get("encoder", "a user's matrix")) for source in self._sources]
        if whole := [name for name in names if MARK not in name]:
            raise InputError(f"image.tune: {whole[0]} is not cut; make features of CNN@BLOCK, as efficientnet-lite2@19")
        self.grid, self.crop = config.grid, config.crop
        self.above = nn.ModuleList(make_above(name) for name in names)
        self._sizes = [source["feature_dim"] for source in self._sources]
        self.register_buffer("scale_in", torch.tensor(info.get("scales", [1.0] * len(names))))
        self.register_buffer("scale_out", torch.ones(len(names)))
        self.encoder = ImageEncoder(config, _CHANNELS * len(names), embed_dim)

    def start(self) -> None:
        """What the encoder above the CNNs begins at."""
        self.encoder.start()

    def load_published(self) -> None:
        """Gives the CNNs the weights that the features below the cut were made with."""
        for above, source in zip(self.above, self._sources, strict=True):
            name, block = source["encoder"].split(MARK)
            network = load_cnn(name, source.get("weights"), source.get("seed", 0)).net.trunk
            above.load_state_dict(Above(network, int(block)).state_dict())

    @torch.no_grad()
    def calibrate(self, features: Float[Tensor, "b 1 n"]) -> None:
        """Scales each CNN so that its mean feature has a norm of 1 on average, as features side by side have."""
        self.scale_out.fill_(1.0)
        norms = [part.mean(1).norm(dim=1).mean() for part in self._regions(features)]
        self.scale_out.copy_(1 / torch.stack(norms))

    def forward(self, features: Float[Tensor, "b 1 n"]) -> Float[Tensor, "b d"]:
        return self.encoder(torch.cat(self._regions(features), 2))

    def _regions(self, features: Tensor) -> list[Float[Tensor, "b r c"]]:
        """Of each CNN the regions of its last map."""
        regions, cut = [], self.crop if self.training else 1.0
        if cut < 1:  # one size a batch, so that its maps stay one tensor; a place a photo
            share, places = cut + (1 - cut) * torch.rand(()).item(), torch.rand(len(features), 2).to(features.device)
        flats = features[:, 0].split(self._sizes, 1)
        for above, flat, scale_in, scale_out in zip(self.above, flats, self.scale_in, self.scale_out, strict=True):
            maps = above.maps(flat / scale_in)
            if cut < 1:
                maps = crops_of(maps, share, places)
            maps = adaptive_avg_pool2d(above(maps), self.grid)
            regions.append(maps.flatten(2).transpose(1, 2) * scale_out)
        return regions


def crops_of(maps: Float[Tensor, "b c h h"], share: float, places: Float[Tensor, "b 2"]) -> Float[Tensor, "b c k k"]:
    """A square of each map, of k = round(share h) cells a side, its corner at `places` (0 to 1) of where it may be."""
    height = maps.shape[2]
    side = max(1, round(share * height))
    corners = (places * (height - side + 1)).long().clamp(max=height - side)
    cells = torch.arange(side, device=maps.device)
    rows, columns = corners[:, :1] + cells, corners[:, 1:] + cells
    photos = torch.arange(len(maps), device=maps.device)
    return maps[photos[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
