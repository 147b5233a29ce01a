// Tests of the rados backend against the real store.
