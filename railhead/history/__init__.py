"""Revision files and their order. Asks no database."""
