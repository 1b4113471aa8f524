-- What is searchable, and the lists behind coded values.

create function folded_words(stemming text, words text) returns tsvector
  language sql immutable parallel safe
  return case stemming
    when 'french' then to_tsvector('french', words)
    when 'english' then to_tsvector('english', words)
    when 'simple' then to_tsvector('simple', words)
    else to_tsvector('french', words) || to_tsvector('english', words)
  end;
comment on function folded_words is
  'Words that the service has folded, stemmed as the document''s language wants; as French and English when it has none.';

create table document (
  tenant      text not null,
  kind        text not null,
  key         text not null,
  read_number bigint not null,
  searchable  boolean not null,
  title       text not null,
  language    integer,
  status      text,
  created     text,
  modified    text,
  coded       text not null,
  raw         text not null,
  indexed_at  timestamptz not null,
  search      tsvector not null,
  constraint document_pkey primary key (tenant, kind, key),
  constraint document_kind check (kind in ('vacancy', 'candidate'))
);
comment on table document is 'One row per indexed vacancy or candidate; deleted with its subject.';
comment on column document.tenant is 'Name of the tenant in the settings.';
comment on column document.kind is 'vacancy or candidate.';
comment on column document.key is 'Vacancy reference or candidate id, verbatim.';
comment on column document.read_number is 'The read that showed this content.';
comment on column document.searchable is 'False for a vacancy whose status is not live.';
comment on column document.title is 'Title of the vacancy, or the candidate''s own title.';
comment on column document.language is 'Windows LCID of the content; null when the record names none.';
comment on column document.status is 'Client code of the status.';
comment on column document.created is 'Creation date as Cegid wrote it.';
comment on column document.modified is 'Modification date as Cegid wrote it.';
comment on column document.coded is 'JSON: the coded values with their paths, ids and labels.';
comment on column document.raw is 'The detail object as received.';
comment on column document.indexed_at is 'When this content was written.';
comment on column document.search is 'Folded words, weighted: A title, B skills and labels, C descriptions.';

create index document_search on document using gin (search);
comment on index document_search is 'Full text search.';

create table referential (
  tenant   text not null,
  category text not null,
  id       text not null,
  label    text,
  labels   text not null,
  raw      text not null,
  read_at  timestamptz not null,
  constraint referential_pkey primary key (tenant, category, id)
);
comment on table referential is 'One row per item of a referential.';
comment on column referential.tenant is 'Name of the tenant in the settings.';
comment on column referential.category is 'Name of the list, as in its path.';
comment on column referential.id is 'Client code, verbatim.';
comment on column referential.label is 'The item''s own label.';
comment on column referential.labels is 'JSON: label by LCID, from the translations.';
comment on column referential.raw is 'The item as received.';
comment on column referential.read_at is 'When it was last read.';
create index referential_id on referential (tenant, id);
comment on index referential_id is 'Finds the labels of a coded value.';

create table referential_category (
  tenant   text not null,
  category text not null,
  read_at  timestamptz not null,
  items    integer not null,
  refused  text,
  constraint referential_category_pkey primary key (tenant, category)
);
comment on table referential_category is 'When each list was last read, and what it said.';
comment on column referential_category.tenant is 'Name of the tenant in the settings.';
comment on column referential_category.category is 'Name of the list, as in its path.';
comment on column referential_category.read_at is 'When it was last read to its end or refused.';
comment on column referential_category.items is 'How many items it held.';
comment on column referential_category.refused is 'Why it could not be read, such as an unknown name; null when it was.';

-- lz4 where the server has it: a 4 KiB document is over the TOAST limit, and pglz costs more than
-- inflating and parsing the record.
do $$
begin
  alter table document alter column raw set compression lz4;
  alter table document alter column search set compression lz4;
exception when feature_not_supported then
  raise notice 'this server has no lz4: documents are compressed with pglz';
end
$$;
