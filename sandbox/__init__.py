"""The vendors, faked, and the real servers, started: test equipment that is strict, and fails as they do.

HTTP, in a test or as a process (``python -m sandbox.server --port 8900``, then ``curl 127.0.0.1:8900/_sandbox/``)::

    from sandbox.server import Sandbox
    with Sandbox(port=0, site=example_site()) as sandbox:
        sandbox.url, sandbox.butter_endpoint     # http://127.0.0.1:<port>, and the same with /v2
        sandbox.butter.token                     # the read token that it accepts
        sandbox.site.publish_post("hello")       # an edit; returns the Webhook that ButterCMS would send
        sandbox.butter.cdn.freeze(path)          # an old body; absent(path): a cached 404; thaw(path); purges = False
        sandbox.faults.add(Fault(kind="drop"))   # returns a number for remove(number); clear()
        sandbox.requests                         # [Recorded(vendor, request, status, at)]
        sandbox.requests_to("butter", "/posts/")
        sandbox.algolia_endpoint                 # three addresses; sandbox.algolia_hosts[0].down(), .up()
        sandbox.algolia.records("posts")         # what a search sees; .settings(index), .indices, .add_key("search")

ButterCMS's content (`sandbox.site` has every edit) and its webhooks::

    from sandbox.examples import example_site, large_site
    from sandbox.site import Account, Site, SiteError, item_uri, media
    from sandbox.webhooks import Webhook, Delivery, send
    webhook = Site(Account(locales=("en", "de")), clock).publish_item("tools", {"name": "Fork"})
    webhook.number, webhook.body(url)            # the numeric id, the JSON object
    send(webhook, url, secret, headers={})       # Delivery(status, body, milliseconds, error), .succeeded

Faults: `sandbox.faults.Fault(kind, vendor, host, method, path, after, times, percent, status, body, headers, seconds,
form)`.

PostgreSQL, TLS before it, and OpenSearch or Elasticsearch::

    from sandbox.postgres import Postgres
    with Postgres(directory=None) as postgres:   # .dsn .port .password .log; stop() start() restart()
    from sandbox.tls_relay import TlsRelay
    with TlsRelay(postgres.port, hostname="localhost") as relay:  # .port .ca; drop(), seconds = 0.5
    from sandbox.search import SearchServer
    with SearchServer("opensearch") as server:   # .endpoint .log; begin() start() stop() restart()

A vendor is a class with `name`, `paths`, `controls` and `answer` (see `sandbox.wire.Vendor`), listed in `Sandbox`.
"""
