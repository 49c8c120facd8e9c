-- The newest version of every ref that was ever seen, removed ones included: what fences late messages off.
CREATE TABLE buttersync_versions (
    ref text PRIMARY KEY,
    version bigint NOT NULL,
    removed_at timestamptz
);

CREATE TABLE pages (
    ref text PRIMARY KEY,
    version bigint NOT NULL,
    page_type text NOT NULL,
    slug text NOT NULL,
    locale text,
    status text NOT NULL DEFAULT 'published',
    name text NOT NULL,
    title text NOT NULL,
    url text,
    author text,
    categories text[] NOT NULL,
    tags text[] NOT NULL,
    summary text NOT NULL,
    image text,
    text text NOT NULL,
    fields jsonb NOT NULL,
    published_at timestamptz,
    updated_at timestamptz,
    synced_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX pages_key ON pages (page_type, slug, COALESCE(locale, ''));

CREATE TABLE posts (
    ref text PRIMARY KEY,
    version bigint NOT NULL,
    slug text NOT NULL,
    locale text,
    status text NOT NULL DEFAULT 'published',
    name text NOT NULL,
    title text NOT NULL,
    url text,
    author text,
    categories text[] NOT NULL,
    tags text[] NOT NULL,
    summary text NOT NULL,
    image text,
    text text NOT NULL,
    fields jsonb NOT NULL,
    published_at timestamptz,
    updated_at timestamptz,
    synced_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX posts_key ON posts (slug, COALESCE(locale, ''));

-- Items are known by their number; a slug is a field that some collections have and that two items may share.
CREATE TABLE collection_items (
    ref text PRIMARY KEY,
    version bigint NOT NULL,
    collection text NOT NULL,
    item_id bigint NOT NULL,
    slug text,
    locale text,
    status text NOT NULL DEFAULT 'published',
    name text NOT NULL,
    title text NOT NULL,
    url text,
    author text,
    categories text[] NOT NULL,
    tags text[] NOT NULL,
    summary text NOT NULL,
    image text,
    text text NOT NULL,
    fields jsonb NOT NULL,
    published_at timestamptz,
    updated_at timestamptz,
    synced_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX collection_items_key ON collection_items (collection, item_id, COALESCE(locale, ''));

-- Everything that is published, for those who do not care of which kind it is.
CREATE VIEW content AS
SELECT ref, version, 'page' AS kind, page_type AS type, slug, locale, status, name, title, url, author, categories, tags,
       summary, image, text, fields, published_at, updated_at, synced_at
FROM pages
UNION ALL
SELECT ref, version, 'post', NULL, slug, locale, status, name, title, url, author, categories, tags,
       summary, image, text, fields, published_at, updated_at, synced_at
FROM posts
UNION ALL
SELECT ref, version, 'item', collection, slug, locale, status, name, title, url, author, categories, tags,
       summary, image, text, fields, published_at, updated_at, synced_at
FROM collection_items;
