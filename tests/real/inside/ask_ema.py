"""Run by musubi-tuner's Python: prints what averages come to, as JSON."""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[3] / "src"))

from wan22lora.trainer.ema import Average


def follow(parameters, averages, first, last):
    """Moves the parameters in steps; the values that parameter 0 takes."""
    path = []
    for step in range(first, last + 1):
        with torch.no_grad():
            for parameter in parameters:
                parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step))
        path.append(parameters[0].flatten()[0].item())
        for average in averages:
            average.update(step)
    return path


def main():
    parameters = [torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.ones(2, 2, dtype=torch.bfloat16))]
    average = Average(parameters, 0.9)
    path = follow(parameters, [average], 1, 200)

    own = [parameter.detach().clone() for parameter in parameters]
    try:
        with average.applied():
            inside = parameters[0].flatten()[0].item()
            raise KeyError
    except KeyError:
        restored = all(map(torch.equal, own, parameters))

    torch.save(average.state_dict(), "average.pt")
    resumed = Average(parameters, 0.9)
    resumed.load_state_dict(torch.load("average.pt"))
    follow(parameters, [average, resumed], 201, 230)
    same = all(map(torch.equal, average.state_dict()["average"], resumed.state_dict()["average"]))

    try:
        Average(parameters[:1], 0.9).load_state_dict(average.state_dict())
        refused = None
    except ValueError as error:
        refused = str(error)
    dtypes = [str(tensor.dtype) for tensor in average.state_dict()["average"]]
    print(
        json.dumps(
            {"path": path, "inside": inside, "restored": restored, "same": same, "refused": refused, "dtypes": dtypes}
        )
    )


main()
