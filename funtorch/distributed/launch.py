"""torch.distributed.launch: `run` as it was, which passes `--local-rank` unless told `--use-env`."""

from __future__ import annotations

from collections.abc import Sequence

from funtorch.distributed.run import command_of, get_args_parser, run


def main(args: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = get_args_parser()
    parser.add_argument("--use-env", "--use_env", action="store_true")
    options = parser.parse_args(args)
    options.n_arguments = len(options.training_script_args)
    command = command_of(options, options.training_script, options.training_script_args)
    status = run(options, command, local_rank_argument=not options.use_env)
    if status:
        raise SystemExit(status)


if __name__ == "__main__":
    main()
