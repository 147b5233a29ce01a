// Tests of the s3 backend against the real store.
