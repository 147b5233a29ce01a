"""What openstacksdk sees of a control API. sdk.py URL TOKEN: looks for images by id and name and uses the cache; prints JSON."""
import json
import sys

import openstack

url, token = sys.argv[1:3]
connection = openstack.connection.Connection(
    auth_type="admin_token", auth={"endpoint": url, "token": token}, image_endpoint_override=url)
image = connection.image


def found(name):
    try:
        one = image.find_image(name)
        return one and one.id
    except openstack.exceptions.SDKException as error:
        return type(error).__name__


seen = {"endpoint": image.get_endpoint(), "by id": found("a.img"), "by name": found("debian"), "missing": found("none"),
        "ambiguous": found("twice"), "images": [one.id for one in image.images()]}
seen["queue"] = image.put("/cache/" + seen["by name"]).status_code
seen["listed"] = image.get("/cache").json()
seen["delete"] = image.delete("/cache/a.img").status_code
seen["again"] = image.delete("/cache/a.img").status_code
seen["clear"] = image.delete("/cache", headers={"x-image-cache-clear-target": "queue"}).status_code
seen["bad clear"] = image.delete("/cache", headers={"x-image-cache-clear-target": "all"}).status_code
print(json.dumps(seen))
