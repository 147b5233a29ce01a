int unused_mount;
