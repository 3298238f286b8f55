-- Fallback mails when many deliveries fail together, the links in them, and notices to whoever runs this.

-- How many mails a destination's address was promised since started_at. The row is the lock under which slots are given.
create table mail_windows (
  destination_id text not null,
  recipient text not null,
  started_at timestamptz not null,
  mails integer not null,
  primary key (destination_id, recipient)
);
create index mail_windows_by_age on mail_windows using brin (started_at);

-- Deliveries join a digest while it is gathering; then it is sent, and its list only shrinks.
-- next_try_at: when it may be sent, or sent again; while a worker is at it, when it counts as dead.
create table mail_digests (
  id text primary key check (id like 'dig\_%'),
  organization_id text not null,
  destination_id text not null,
  recipient text not null,
  state text not null check (state in ('gathering', 'sending', 'sent', 'failed')),
  due_at timestamptz not null,
  next_try_at timestamptz not null,
  tries integer not null default 0
);
create index mail_digests_by_age on mail_digests using brin (due_at);

-- Which mail stands for an exhausted delivery, decided once: one of its own, or a digest. is_listed: the digest's mail
-- names it; one that could not be listed is given another mail.
create table fallback_mails (
  delivery_id text primary key,
  delivery_created_at timestamptz not null,
  recipient text not null,
  digest_id text,
  is_listed boolean not null default false,
  claimed_at timestamptz not null
);
create index fallback_mails_by_digest on fallback_mails (digest_id, delivery_created_at, delivery_id)
  where digest_id is not null;
create index fallback_mails_by_age on fallback_mails using brin (claimed_at);

-- A link in a mail works once. subject: the delivery or the digest.
create table used_replay_links (
  subject text primary key,
  used_at timestamptz not null
);
create index used_replay_links_by_age on used_replay_links using brin (used_at);

-- At most one mail a day (UTC) to whoever runs this.
create table operator_notices (
  day text primary key,
  sent_at timestamptz not null
);
