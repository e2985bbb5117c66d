"""The only modules that talk to anyone: one adapter a module, foreign errors end here."""
