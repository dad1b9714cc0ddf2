"""Collections: pictures and videos embedded once, kept, and found by text, by picture, or by both."""
