//! Deserializes Arrow values with serde directly, without an intermediate copy. Only the fields that a type
//! needs are read.

use arrow::array::{Array, AsArray, OffsetSizeTrait, RunArray};
use arrow::datatypes::{
    DataType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    RunEndIndexType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::array_value_to_string;
use serde::de::value::Error;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

/// One value of an array.
#[derive(Clone, Copy)]
pub(super) struct Cell<'a> {
    pub(super) array: &'a dyn Array,
    pub(super) index: usize,
}

impl<'a> Cell<'a> {
    fn is_null(self) -> bool {
        // A dictionary may also contain a null among its values.
        self.array.is_null(self.index)
            || *self.array.data_type() == DataType::Null
            || self
                .array
                .as_any_dictionary_opt()
                .is_some_and(|_| self.in_dictionary().is_none_or(Cell::is_null))
            || self.in_runs().is_some_and(Cell::is_null)
    }

    /// The value of the run that contains this index, in an array of runs.
    fn in_runs(self) -> Option<Cell<'a>> {
        let array = self.array;
        let DataType::RunEndEncoded(ends, _) = array.data_type() else { return None };
        let (values, index) = match ends.data_type() {
            DataType::Int16 => run(array.as_run::<Int16Type>(), self.index),
            DataType::Int32 => run(array.as_run::<Int32Type>(), self.index),
            _ => run(array.as_run::<Int64Type>(), self.index),
        };
        Some(Cell { array: values, index })
    }

    /// The value that a dictionary key refers to.
    fn in_dictionary(self) -> Option<Cell<'a>> {
        let dictionary = self.array.as_any_dictionary_opt()?;
        let key: usize =
            serde::Deserialize::deserialize(Cell { array: dictionary.keys(), index: self.index }).ok()?;
        Some(Cell { array: dictionary.values(), index: key })
    }

    fn list<O: OffsetSizeTrait>(self) -> Items<'a> {
        let list = self.array.as_list::<O>();
        let offsets = list.value_offsets();
        Items {
            values: list.values(),
            index: offsets[self.index].as_usize(),
            end: offsets[self.index + 1].as_usize(),
        }
    }

    fn list_view<O: OffsetSizeTrait>(self) -> Items<'a> {
        let list = self.array.as_list_view::<O>();
        let index = list.offsets()[self.index].as_usize();
        Items { values: list.values(), index, end: index + list.sizes()[self.index].as_usize() }
    }

    fn text<'de, V: Visitor<'de>>(bytes: &[u8], visitor: V) -> Result<V::Value, Error> {
        // Some writers store text as bytes, without the logical type of text.
        match std::str::from_utf8(bytes) {
            Ok(text) => visitor.visit_str(text),
            Err(_) => visitor.visit_bytes(bytes),
        }
    }
}

/// The values of an array of runs, and the index of the run that contains `index`.
fn run<E: RunEndIndexType>(array: &RunArray<E>, index: usize) -> (&dyn Array, usize) {
    (array.values(), array.get_physical_index(index))
}

macro_rules! number {
    ($cell:ident, $type:ty) => {
        $cell.array.as_primitive::<$type>().value($cell.index)
    };
}

impl<'de> Deserializer<'de> for Cell<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_null() {
            return visitor.visit_unit();
        }
        let (array, index) = (self.array, self.index);
        match array.data_type() {
            DataType::Boolean => visitor.visit_bool(array.as_boolean().value(index)),
            DataType::Int8 => visitor.visit_i64(number!(self, Int8Type).into()),
            DataType::Int16 => visitor.visit_i64(number!(self, Int16Type).into()),
            DataType::Int32 => visitor.visit_i64(number!(self, Int32Type).into()),
            DataType::Int64 => visitor.visit_i64(number!(self, Int64Type)),
            DataType::UInt8 => visitor.visit_u64(number!(self, UInt8Type).into()),
            DataType::UInt16 => visitor.visit_u64(number!(self, UInt16Type).into()),
            DataType::UInt32 => visitor.visit_u64(number!(self, UInt32Type).into()),
            DataType::UInt64 => visitor.visit_u64(number!(self, UInt64Type)),
            DataType::Float16 => visitor.visit_f64(number!(self, Float16Type).into()),
            DataType::Float32 => visitor.visit_f64(number!(self, Float32Type).into()),
            DataType::Float64 => visitor.visit_f64(number!(self, Float64Type)),
            DataType::Utf8 => visitor.visit_str(array.as_string::<i32>().value(index)),
            DataType::LargeUtf8 => visitor.visit_str(array.as_string::<i64>().value(index)),
            DataType::Utf8View => visitor.visit_str(array.as_string_view().value(index)),
            DataType::Binary => Self::text(array.as_binary::<i32>().value(index), visitor),
            DataType::LargeBinary => Self::text(array.as_binary::<i64>().value(index), visitor),
            DataType::BinaryView => Self::text(array.as_binary_view().value(index), visitor),
            DataType::Dictionary(..) => match self.in_dictionary() {
                Some(value) => value.deserialize_any(visitor),
                None => visitor.visit_unit(),
            },
            DataType::List(_) => visitor.visit_seq(self.list::<i32>()),
            DataType::LargeList(_) => visitor.visit_seq(self.list::<i64>()),
            DataType::ListView(_) => visitor.visit_seq(self.list_view::<i32>()),
            DataType::LargeListView(_) => visitor.visit_seq(self.list_view::<i64>()),
            DataType::Union(..) => {
                Err(Error::custom("a union of types is not read: write a column for each type"))
            }
            DataType::RunEndEncoded(..) => match self.in_runs() {
                Some(value) => value.deserialize_any(visitor),
                None => visitor.visit_unit(),
            },
            DataType::FixedSizeList(_, length) => {
                let (list, length) = (array.as_fixed_size_list(), *length as usize);
                visitor.visit_seq(Items {
                    values: list.values(),
                    index: index * length,
                    end: (index + 1) * length,
                })
            }
            DataType::Struct(_) => visitor.visit_map(Fields { cell: self, next: 0 }),
            DataType::Map(..) => {
                let map = array.as_map();
                let (index, end) =
                    (map.value_offsets()[index] as usize, map.value_offsets()[index + 1] as usize);
                visitor.visit_map(Entries {
                    keys: Items { values: map.keys(), index, end },
                    values: Items { values: map.values(), index, end },
                })
            }
            // Dates, times and decimals, as Arrow formats them.
            _ => visitor.visit_string(array_value_to_string(array, index).map_err(Error::custom)?),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    /// An enum is the name of its variant; no record has a variant with data.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let name: String = serde::Deserialize::deserialize(self)?;
        visitor.visit_enum(name.into_deserializer())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct identifier
    }
}

/// The values of a list.
struct Items<'a> {
    values: &'a dyn Array,
    index: usize,
    end: usize,
}

impl<'a> Iterator for Items<'a> {
    type Item = Cell<'a>;

    fn next(&mut self) -> Option<Cell<'a>> {
        let cell = Cell { array: self.values, index: self.index };
        self.index += 1;
        (cell.index < self.end).then_some(cell)
    }
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        self.next().map(|cell| seed.deserialize(cell)).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.end - self.index)
    }
}

/// The fields of a struct. Null fields are skipped, because Arrow stores a null where only another row has
/// the field.
struct Fields<'a> {
    cell: Cell<'a>,
    next: usize,
}

impl<'a> Fields<'a> {
    fn value(&self, field: usize) -> Cell<'a> {
        Cell { array: self.cell.array.as_struct().column(field), index: self.cell.index }
    }
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let fields = self.cell.array.as_struct().fields();
        while self.next < fields.len() && self.value(self.next).is_null() {
            self.next += 1;
        }
        let name = fields.get(self.next).map(|field| field.name().as_str());
        name.map(|name| seed.deserialize(name.into_deserializer())).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        self.next += 1;
        seed.deserialize(self.value(self.next - 1))
    }
}

/// The entries of a map.
struct Entries<'a> {
    keys: Items<'a>,
    values: Items<'a>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        self.keys.next_element_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        self.values.next().map_or_else(
            || Err(Error::custom("a map has fewer values than keys")),
            |cell| seed.deserialize(cell),
        )
    }
}
