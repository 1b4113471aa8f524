-- Documents are found by the codes that they hold, and codes by their labels in every language.

create function coded_words(coded text) returns tsvector
  language sql immutable parallel safe
  return array_to_tsvector(array(
    select '=' || left(value ->> 'id', 400)
    from jsonb_array_elements(coded::jsonb)
    where value ->> 'id' <> '' and value ->> 'field' <> 'status'));
comment on function coded_words is
  'The codes of a document as words that no text has: each behind an equals sign. The status is none: every live vacancy has the same.';

create function codes_wanted(ids text[]) returns tsquery
  language sql immutable parallel safe
  return (select string_agg('''=' || replace(replace(left(id, 400), '\', '\\'), '''', '''''') || '''', ' | ')::tsquery
          from unnest(ids) as u (id));
comment on function codes_wanted is 'Asks for documents that hold one of these codes; null without any.';

comment on column document.search is
  'Folded words, weighted: A title, B skills and labels, C descriptions; and the codes, each behind an equals sign.';
update document set search = search || coded_words(coded);

alter table referential add column words tsvector not null default '';
comment on column referential.words is 'Folded words of its labels in every language that was read, stemmed in each way.';
create index referential_words on referential using gin (words);
comment on index referential_words is 'Finds the codes whose labels hold a word.';

-- Lists that were read before have no words: each is read anew.
delete from referential_category;
