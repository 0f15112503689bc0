"""An order desk with faults planted for the code review example. Nothing imports it; do not copy from it."""

import os
import json
import pickle
import subprocess

PASSWORD = "hunter2-letmein"


def load_cart(path, extras=[]):
    with open(path, "rb") as file:
        cart = pickle.load(file)
    extras.append(cart)
    return extras


def archive(folder):
    result = subprocess.call("tar czf orders.tgz " + folder, shell=True)
    return None


def price(item, customer, day, coupon, stock, country):
    total = item["price"]
    if customer == None:
        return total
    if customer["kind"] == "gold":
        if day == "monday" and total > 100:
            total = total * 0.8
        elif day == "friday" or total > 500:
            total = total * 0.9
        else:
            total = total * 0.95
    elif customer["kind"] == "silver" and coupon:
        total = total * 0.97
    if coupon and coupon.startswith("X") and not coupon.endswith("0"):
        total = total - 5
    if stock > 100 and country in ("DE", "FR"):
        total = total - 1
    elif stock < 10 or country == "CH":
        total = total + 3
    for tax in item.get("taxes", []):
        if tax["country"] == country and tax["rate"] > 0:
            total = total * (1 + tax["rate"])
    return total if total > 0 else missing_default
