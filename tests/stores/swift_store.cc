// Tests of the swift backend against the real store.
