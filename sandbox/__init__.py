"""The vendors, faked, and the real servers, started: test equipment that is strict, and fails as they do.

    from sandbox.server import Sandbox          # HTTP: with Sandbox(port=0, site=None) as sandbox
    sandbox.url, sandbox.butter_endpoint        #   http://127.0.0.1:<port>, and the same with /v2
    sandbox.butter.token                        #   the read token it accepts
    sandbox.site                                #   sandbox.site.Site: edits, each returns a Webhook
    sandbox.butter.cdn                          #   freeze(path), absent(path), thaw(path), purges = False
    sandbox.faults.add(Fault(kind="status"))    #   sandbox.faults.Fault; remove(number), clear()
    sandbox.requests                            #   [Recorded]; requests_to("butter", "/posts/")

    from sandbox.site import Account, Site, item_uri, media
    from sandbox.examples import example_site, large_site
    from sandbox.webhooks import Webhook, Delivery, send
    webhook = site.publish_post("hello", title="Hello", body="<p>Hi</p>")
    send(webhook, url, secret, headers={})      # Delivery(status, body, milliseconds, error), .succeeded
    webhook.body(url)                           # the JSON object; webhook.number, the numeric id

    from sandbox.postgres import Postgres       # with Postgres(directory=None) as postgres: .dsn .port stop() restart()

As a process: ``python -m sandbox.server --port 8900``, then ``curl http://127.0.0.1:8900/_sandbox/``.
"""
