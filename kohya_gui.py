"""The front end under the name and with the flags of kohya_ss: `python kohya_gui.py --help`."""

from app.kohya_gui import main

if __name__ == "__main__":
    raise SystemExit(main())
