int unused_datadir;
