"""The forecast: its study, the verdict on measures, the forecast on families left out, and the page."""
