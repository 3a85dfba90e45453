"""Networks: addresses, wanted rules, published ports."""
