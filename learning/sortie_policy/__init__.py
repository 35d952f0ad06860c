"""The learned policy in torch: graph filters, the LGTC cell and its contraction rate; knows no simulator."""
