"""The one exception for what a user can mend."""


class InputError(ValueError):
    """A wrong config, file or argument.

    The message is one line: the name of the thing, what is wrong with it, and the cure. The command line prints it
    without a traceback and exits with status 2. It takes a single string, so that PyTorch can raise it again in the
    main process when a data worker fails.
    """
