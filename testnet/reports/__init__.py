"""A run's result as one page. Law: pure; the page needs nothing but itself."""
