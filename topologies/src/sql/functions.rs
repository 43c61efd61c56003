//! Functions that look into JSON text: payloads of events, and what has no type of its own in rows.
//!
//! `json_text(payload, 'Deposited', 'amount')` and so on: the value that a path of names and places (from 0) leads to, as a
//! text, an integer, a fraction or true or false; null where there is none, or one of another type. Cost: parses the
//! text at each use.

use std::hash::Hash;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use serde_json::Value;

/// What a function gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Gives {
    Text,
    Int,
    Float,
    Bool,
}

/// One of the functions.
#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonFunction {
    gives: Gives,
    signature: Signature,
}

/// A step of a path.
enum Step {
    Name(String),
    Place(usize),
}

/// All of them.
pub(super) fn all() -> [ScalarUDF; 4] {
    [Gives::Text, Gives::Int, Gives::Float, Gives::Bool].map(|gives| {
        ScalarUDF::from(JsonFunction {
            gives,
            signature: Signature::variadic_any(Volatility::Immutable),
        })
    })
}

fn step(path: &ColumnarValue) -> Result<Step> {
    let wrong = || {
        let message = "a path into JSON is made of constant names and places";
        DataFusionError::Plan(message.to_owned())
    };
    let ColumnarValue::Scalar(step) = path else {
        return Err(wrong());
    };
    match (step, step.try_as_str()) {
        (_, Some(Some(name))) => Ok(Step::Name(name.to_owned())),
        (ScalarValue::Int64(Some(place)), _) => {
            Ok(Step::Place(usize::try_from(*place).map_err(|_| wrong())?))
        }
        _ => Err(wrong()),
    }
}

fn at_path(text: &str, path: &[Step]) -> Option<Value> {
    let mut value: Value = serde_json::from_str(text).ok()?;
    for step in path {
        let found = match step {
            Step::Name(name) => value.get_mut(name.as_str())?,
            Step::Place(place) => value.get_mut(*place)?,
        };
        value = found.take();
    }
    Some(value)
}

impl JsonFunction {
    fn array(&self, texts: &StringArray, path: &[Step]) -> ArrayRef {
        let values = texts.iter().map(|text| at_path(text?, path));
        match self.gives {
            Gives::Text => Arc::new(StringArray::from_iter(values.map(|value| match value? {
                Value::Null => None,
                Value::String(text) => Some(text),
                other => Some(other.to_string()),
            }))),
            Gives::Int => Arc::new(Int64Array::from_iter(values.map(|value| value?.as_i64()))),
            Gives::Float => Arc::new(Float64Array::from_iter(values.map(|value| value?.as_f64()))),
            Gives::Bool => Arc::new(BooleanArray::from_iter(
                values.map(|value| value?.as_bool()),
            )),
        }
    }
}

impl ScalarUDFImpl for JsonFunction {
    fn name(&self) -> &str {
        match self.gives {
            Gives::Text => "json_text",
            Gives::Int => "json_int",
            Gives::Float => "json_float",
            Gives::Bool => "json_bool",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.gives {
            Gives::Text => DataType::Utf8,
            Gives::Int => DataType::Int64,
            Gives::Float => DataType::Float64,
            Gives::Bool => DataType::Boolean,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some((texts, path)) = args.args.split_first() else {
            let message = format!("{} needs a JSON text", self.name());
            return Err(DataFusionError::Plan(message));
        };
        let path = path.iter().map(step).collect::<Result<Vec<_>>>()?;
        let texts = cast(&texts.to_array(args.number_rows)?, &DataType::Utf8)?;
        let array = self.array(texts.as_string::<i32>(), &path);
        debug_assert_eq!(array.len(), texts.len());
        Ok(ColumnarValue::Array(array))
    }
}
