"""Browser journeys: the product as its users see it."""
