"""Nets, target scaler, heads, and how they are packed into files and rebuilt from them (no pickle anywhere)."""
