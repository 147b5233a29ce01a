// Tests of the glance backend against the real store.
