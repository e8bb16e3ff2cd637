"""systemd as the supervisor: what it needs before the actors start, how it is asked, and how the units are installed."""
