"""Rows made fit for people: tables, a picture, a page, with units throughout."""
