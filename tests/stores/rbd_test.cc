// Tests of the rbd backend against the real store.
