"""From DONE chunks to a recording and its ledger; and what happens to it afterwards."""
