"""The steps that bring an older database to the present schema; run by `store.migration`."""
