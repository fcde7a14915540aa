"""Who a caller is: tokens, their store, certificates."""
