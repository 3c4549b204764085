"""What work costs (pricing/), and who may spend how much (spending/). Alerts and routing will stand here."""
